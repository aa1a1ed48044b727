// Runs before the first paint, so that nobody sees the other theme flash up.
const chosen = localStorage.getItem("vigil.theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
