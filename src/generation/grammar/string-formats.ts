const DAY =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))";
const DATE = `\\d{4}-${DAY}`;
const TIME = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?";
const HOST = `(?:${LABEL}\\.)+[A-Za-z]{2,12}`;
const N = "\\d{1,4}";
const SPAN = `T(?:${N}S|${N}M(?:${N}S)?|${N}H(?:${N}M(?:${N}S)?)?)`;
const BYTE = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";

/** Formats of strings (JSON Schema, 7.3) as patterns: every text that fits one is of the format, though not the other way round. */
export const STRING_FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${TIME}$`,
  "date-time": `^${DATE}T${TIME}$`,
  duration: `^P(?:${N}W|(?:${N}D|${N}M(?:${N}D)?|${N}Y(?:${N}M(?:${N}D)?)?)(?:${SPAN})?|${SPAN})$`,
  email: `^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@${HOST}$`,
  hostname: `^(?:${LABEL}\\.){1,4}[A-Za-z]{2,12}$`,
  ipv4: `^${BYTE}(?:\\.${BYTE}){3}$`,
  ipv6: "^(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}$",
  uri: `^https?://${HOST}(?::[1-9]\\d{0,3})?(?:/[\\w.~-]*)*(?:\\?[\\w.~&=-]*)?(?:#[\\w.~-]*)?$`,
  uuid: "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
};
