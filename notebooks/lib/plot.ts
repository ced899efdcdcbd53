import type { TopLevelSpec } from 'vega-lite';

/** Sizes and colours that all our plots share. Colours: Okabe and Ito's, told apart by colour-blind readers. */
const config = {
  background: 'white',
  font: 'sans-serif',
  view: { stroke: '#ddd' },
  axis: { gridColor: '#eee', labelColor: '#333', titleColor: '#333', titleFontWeight: 'normal' },
  legend: { titleFontWeight: 'normal' },
  title: { anchor: 'start', fontWeight: 'normal' },
  range: {
    category: ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999999'],
  },
} as const;

/**
 * Draws a Vega-Lite specification without a browser.
 * @returns an SVG document, the same for the same specification
 * @throws Error for a specification that Vega-Lite does not take
 */
export async function plot(spec: object): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
  const complete = { width: 420, height: 240, ...spec, config } as unknown as TopLevelSpec;
  const compiled = vegaLite.compile(complete);
  const view = new vega.View(vega.parse(compiled.spec), { renderer: 'none', logLevel: vega.Error });
  try {
    return `${await view.toSVG()}\n`;
  } finally {
    view.finalize();
  }
}
