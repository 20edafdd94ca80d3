/* Light or dark: as the system has it, until the reader chooses; the choice is remembered. Runs
   before anything is shown, so that no page flashes white. A button with the id "theme" turns it. */

const THEME_KEY = "avsent-theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function chosenTheme() {
  try {
    const theme = localStorage.getItem(THEME_KEY);
    return theme === "light" || theme === "dark" ? theme : null;
  } catch {
    return null; // the browser keeps nothing for pages opened from a file
  }
}

function currentTheme() {
  return document.documentElement.dataset.theme;
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) {
    const other = theme === "dark" ? "light" : "dark";
    button.textContent = theme === "dark" ? "☀" : "☾";
    button.setAttribute("aria-label", `Switch to ${other} colours`);
    button.title = `Switch to ${other} colours`;
  }
}

function turnTheme() {
  const theme = currentTheme() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(THEME_KEY, theme);
  } catch {
    // It holds for this page alone, then.
  }
  showTheme(theme);
}

function systemTheme() {
  return systemIsDark.matches ? "dark" : "light";
}

showTheme(chosenTheme() ?? systemTheme());
systemIsDark.addEventListener("change", () => {
  if (chosenTheme() === null) showTheme(systemTheme());
});
document.addEventListener("DOMContentLoaded", () => {
  showTheme(currentTheme());
  document.getElementById("theme")?.addEventListener("click", turnTheme);
});
