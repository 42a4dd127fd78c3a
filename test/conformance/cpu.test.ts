import { conformance } from "./suite.js";

conformance("cpu");
