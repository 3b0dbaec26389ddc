import { render } from "preact";
import { App } from "./ui/app";
import "./style/tokens.css";
import "./style/base.css";
import "./style/controls.css";
import "./style/frame.css";
import "./style/chat.css";
import "./style/markdown.css";
import "./style/panels.css";
import "./style/units.css";
import "./style/keys.css";

const place = document.getElementById("app");
if (place) render(<App />, place);
