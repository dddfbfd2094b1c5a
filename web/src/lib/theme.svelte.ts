// Light, dark, or as the system has it. Remembered in this browser.
export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'jarvis.theme';
const read = (): Theme => {
  try {
    const stored = localStorage.getItem(KEY);
    return stored === 'light' || stored === 'dark' ? stored : 'auto';
  } catch {
    return 'auto';
  }
};

let theme = $state<Theme>(read());

export const currentTheme = (): Theme => theme;

export function setTheme(wanted: Theme): void {
  theme = wanted;
  try {
    localStorage.setItem(KEY, wanted);
  } catch {
    // A browser that keeps nothing shows it until the page is left.
  }
  applyTheme();
}

export function applyTheme(): void {
  const root = document.documentElement;
  if (theme === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme;
}
