// Elements made in one expression. Text only ever becomes text nodes.

/**
 * @param {string} tag
 * @param {Object<string, unknown>} attributes false, null and undefined are left out, true stands without a value
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}
