// The page is patched, never rebuilt: what has the focus, or is being read out or selected, stays.

/** Sets an element's text if it is another one. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Makes an element with a class. */
export function make(tag, className = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  return element;
}

/**
 * Gives a parent one child for each item, by key: children that stay are kept, in the items' order.
 * create(item) makes a child, update(child, item) fills it.
 */
export function children(parent, items, key, create, update) {
  const old = new Map(Array.from(parent.children, (child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    if (child) {
      old.delete(name);
    } else {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
    update(child, item);
  }
  for (const child of old.values()) child.remove();
}

/**
 * Fills a table. columns are {name, of(row), figure, long}; the first one heads its row. of gives a text, or
 * {text, state} where state is ok, warn or bad. long is for texts that may be broken anywhere.
 */
export function table(element, columns, rows, key, empty) {
  if (!element.tHead) {
    const head = element.createTHead().insertRow();
    for (const column of columns) {
      const th = make("th", column.figure ? "figure" : "");
      th.scope = "col";
      th.textContent = column.name;
      head.append(th);
    }
    element.createTBody();
  }
  const body = element.tBodies[0];
  element.tHead.hidden = rows.length === 0;
  if (rows.length === 0) {
    children(body, [null], () => "-empty", () => {
      const tr = make("tr");
      tr.append(make("td", "empty"));
      tr.firstChild.colSpan = columns.length;
      return tr;
    }, (tr) => text(tr.firstChild, empty));
    return;
  }
  children(body, rows, key, () => {
    const tr = make("tr");
    columns.forEach((column, i) => {
      const cell = make(i === 0 ? "th" : "td", column.figure ? "figure" : column.long ? "long" : "");
      if (i === 0) cell.scope = "row";
      tr.append(cell);
    });
    return tr;
  }, (tr, row) => {
    columns.forEach((column, i) => {
      const value = column.of(row);
      const cell = tr.children[i];
      const state = value?.state ?? "";
      text(cell, String(value?.text ?? value ?? ""));
      if ((cell.dataset.state ?? "") !== state) cell.dataset.state = state;
    });
  });
}
