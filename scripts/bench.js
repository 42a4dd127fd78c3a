// `npm run bench`: lowrank against its baselines on this machine; see bench/README.md.
import { bench } from "../bench/run.js";
import { ensureBuilt, ensureDependencies } from "./build.js";

ensureDependencies();
ensureBuilt();
process.exitCode = bench(process.argv.slice(2)) ? 0 : 1;
