import { z } from "zod";

// Imported before everything else: the schemas' library would try whether it may make code of text, which the site's policy refuses aloud.
z.config({ jitless: true });
