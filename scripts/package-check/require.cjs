// The package from CommonJS.
const { loraFinetune, UserError } = require("lowrank");
const { createServer } = require("lowrank/server");
if (typeof loraFinetune !== "function" || typeof createServer !== "function") throw new Error("not the package");
try {
  loraFinetune({ base: "models/tiny", data: { train: "x.jsonl" }, nonsense: 1 });
  throw new Error("an unknown key was taken");
} catch (error) {
  if (!(error instanceof UserError)) throw error;
}
