import { h } from "./elements";

// A sentence that goes again.
export class Toast {
  readonly element = h("div.said", { role: "status", "aria-live": "polite" });
  private timer = 0;

  tell(sentence: string): void {
    this.element.textContent = sentence;
    this.element.classList.add("shown");
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.element.classList.remove("shown"), Math.max(2500, 70 * sentence.length));
  }
}
