// A page that shows nothing live of its own.

import { startShell } from "./shell.js";

startShell();
