import { every, refresh } from "../live.js";

every(3, refresh);
