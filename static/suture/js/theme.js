// Runs before the first paint: the chosen colours are on the page before anything is drawn, and what Alpine
// will hide stays hidden until it has. Without script the page is plain but whole.
(() => {
  const root = document.documentElement;
  const chosen = () => {
    try {
      return JSON.parse(localStorage.getItem("adminTheme")) || "auto";
    } catch {
      return "auto";
    }
  };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = () => {
    const choice = chosen();
    const isDark = choice === "dark" || (choice === "auto" && dark.matches);
    root.classList.toggle("dark", isDark);
    root.classList.toggle("light", choice === "light");
  };
  root.classList.add("js");
  if (root.hasAttribute("x-data")) root.setAttribute("x-cloak", "");
  paint();
  dark.addEventListener("change", paint);
  window.sutureTheme = {
    chosen,
    choose(choice) {
      localStorage.setItem("adminTheme", JSON.stringify(choice));
      paint();
    },
  };
})();
