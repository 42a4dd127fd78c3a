import { downloadModel } from "../node/hub/download.js";
import { type Action, EXIT } from "./io.js";
import { bar, sizeText, statusLine } from "./progress.js";

export const download: Action = async ([repository], options, io) => {
  const status = statusLine(io);
  const folder = await downloadModel(repository!, {
    revision: options.revision as string | undefined,
    include: options.include as string[] | undefined,
    output: options.output as string | undefined,
    onProgress({ file, done, total }) {
      status.update(`${bar(total ? done / total : 1, 24)} ${sizeText(done)} of ${sizeText(total)}  ${file}`);
    },
  });
  status.end();
  io.out(options.json ? `${JSON.stringify({ repository, folder })}\n` : `${folder}\n`);
  return EXIT.ok;
};
