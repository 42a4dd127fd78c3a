// `npm start`: the first minute. With arguments it runs that verb: npm start -- train --help
process.argv.splice(2, process.argv.length, ...(process.argv.length > 2 ? process.argv.slice(2) : ["demo"]));
await import("../bin/lowrank.js");
