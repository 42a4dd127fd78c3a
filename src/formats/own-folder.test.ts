import { expect, it } from "vitest";
import { memoryFiles } from "./memory-files.js";
import { claimFolder, MARKER, markedKind, refuseForeignFolder } from "./own-folder.js";

const RUN = { kind: "run", what: "output_dir" } as const;

it("claims a folder that is new, empty, or its own already", async () => {
  const files = memoryFiles({ "seen/.DS_Store": "", "cut/.lowrank.lowrank.partial": "{", "locked/.lock": "" });
  await claimFolder(files, "new", RUN);
  expect(await markedKind(files, "new")).toBe("run");
  await files.write("new/metrics.jsonl", "");
  for (const folder of ["new", "seen", "cut"]) await claimFolder(files, folder, RUN);
  await claimFolder(files, "locked", { ...RUN, besides: /^\.lock$/ });
});

it("refuses what holds anything else, names it, and changes nothing", async () => {
  const files = memoryFiles({ "mine/a.txt": "1", "mine/b.txt": "2", "mine/c.txt": "3", "mine/d.txt": "4", file: "" });
  await expect(claimFolder(files, "mine", RUN)).rejects.toThrow(
    "output_dir: 'mine' holds what lowrank did not write (a.txt, b.txt, c.txt, and 1 more); choose a new or an empty folder",
  );
  expect(await files.list("mine")).toEqual(["a.txt", "b.txt", "c.txt", "d.txt"]);
  await expect(claimFolder(files, "file", RUN)).rejects.toThrow("'file' is a file, a folder was expected");
  await claimFolder(files, "mine", { ...RUN, earlier: async () => true });
});

it("refuses a folder of another kind, or whose marker is none", async () => {
  const files = memoryFiles({ [`odd/${MARKER}`]: "hello", [`odder/${MARKER}`]: '{"kind": "toString"}' });
  await claimFolder(files, "data", { kind: "data", what: "--data-dir" });
  await expect(refuseForeignFolder(files, "data", RUN)).rejects.toThrow(
    "output_dir: 'data' is not a training run's folder: it is a server's data folder; choose another folder",
  );
  for (const folder of ["odd", "odder"])
    await expect(refuseForeignFolder(files, folder, RUN)).rejects.toThrow("its .lowrank file cannot be read");
});
