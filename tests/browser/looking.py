"""What a person would see or press: contrast, focus, overflow, and the digits of an authenticator app."""

import time

from playwright.sync_api import Page

FAINT = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.textContent.trim();
    const element = node.parentElement;
    if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest("script, style, noscript, [aria-hidden=true], .su-hidden, .su-skip, :disabled, option, .empty-form")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    const under = ground(element);
    const colours = [luminance(over(rgba(style.color), under)), luminance(under)].sort((a, b) => b - a);
    const ratio = (colours[0] + 0.05) / (colours[1] + 0.05);
    if (ratio < (isLarge ? 3 : 4.5) - 0.01) found.push(`${ratio.toFixed(2)} "${text.slice(0, 40)}" ${style.color}`);
  }
  return [...new Set(found)];
}
"""

FOCUS = """
() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const wrap = one.parentElement ? getComputedStyle(one.parentElement) : style;
  const ring = (s) => (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none";
  return {
    name: (one.getAttribute("aria-label") || one.innerText || one.name || one.id || one.tagName).trim().slice(0, 60),
    seen: ring(style) || ring(wrap),
    inside: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}
"""


def faint_texts(page: Page) -> list[str]:
    """Texts below the contrast that WCAG AA asks for: 4.5, or 3 where they are large."""
    return list(page.evaluate(FAINT))


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("Math.max(0, document.documentElement.scrollWidth - innerWidth)"))


def cut_off(page: Page) -> list[str]:
    """Tables that are wider than what is seen of them, by their headings."""
    return list(
        page.evaluate(
            "[...document.querySelectorAll('.su-table-wrap')].filter((one) => one.scrollWidth > one.clientWidth + 1)"
            ".map((one) => one.querySelector('thead')?.innerText ?? '')"
        )
    )


def keyboard_path(page: Page, *, most: int = 80) -> list[str]:
    """The names of what Tab reaches, in order. Fails when the focus cannot be seen."""
    page.evaluate("document.activeElement?.blur()")
    names: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        if focus is None:
            break
        assert focus["seen"], f"the focus on {focus['name']!r} cannot be seen"
        assert focus["inside"], f"{focus['name']!r} has the focus outside the window"
        names.append(focus["name"])
    return names


def code_of(secret: str) -> str:
    """What an authenticator app shows now."""
    from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value

    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))
