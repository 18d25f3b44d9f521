// The entry: decides by the page what to add. Everything is readable without any of it.
import { copying } from "./copy.js";
import { following, arriving } from "./live.js";
import { traceKeys, searchKeys } from "./keys.js";
import { rows } from "./rows.js";
import { sampling } from "./sampler.js";
import { scatter } from "./scatter.js";
import { localTimes } from "./time.js";

const page = document.body.dataset.page;
copying(document);
localTimes(document);
if (page === "trace") {
  rows();
  traceKeys();
  following();
}
if (page === "search") {
  searchKeys();
  scatter();
  arriving();
}
if (page === "sampler") sampling();
// Says that the modules ran, to tests and to the stylesheet.
document.documentElement.dataset.ready = page;
