// Runs before the first paint: a choice made earlier wins over the system's colour scheme.
"use strict";
{
  let chosen = null;
  try { chosen = localStorage.getItem("exchange.theme"); } catch { /* storage is closed to us: the system's scheme it is */ }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
}
