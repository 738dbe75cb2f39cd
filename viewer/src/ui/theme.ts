import { iconButton, setIcon } from "./elements";

const KEY = "eg4d-theme";

function stored(): "light" | "dark" | null {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : null;
  } catch {
    return null; // a page from disk may have no storage
  }
}

// Light or dark: as the system says, until the button is used.
export function themeButton(): HTMLButtonElement {
  let chosen = stored();
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (chosen ? chosen === "dark" : system.matches);
  const show = () => {
    document.documentElement.dataset["theme"] = isDark() ? "dark" : "light";
    setIcon(button, isDark() ? "sun" : "moon", isDark() ? "Light colours" : "Dark colours");
  };
  const button = iconButton("sun", "Light or dark", () => {
    chosen = isDark() ? "light" : "dark";
    try {
      localStorage.setItem(KEY, chosen);
    } catch {
      // then it holds for this visit
    }
    show();
  });
  system.addEventListener("change", show);
  show();
  return button;
}
