// What every page begins with. The page reads well without it.

import { begin as beginActions } from "./actions.js";
import { follow } from "./events.js";
import { showKept } from "./notice.js";
import { begin as beginRefreshing } from "./refresh.js";
import { tick } from "./time.js";

document.documentElement.classList.add("script");
showKept();
beginActions();
beginRefreshing();
follow();
tick();
setInterval(tick, 1000);
