import { openHttpBackend } from "./http-backend.js";
import { mount } from "./mount.js";

mount(await openHttpBackend());
