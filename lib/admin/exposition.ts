/** Writes metrics in the text format of Prometheus, version 0.0.4, or of OpenMetrics, version 1.0. */
import type { Metric } from './world.js'

/**
 * Returns the text: for each name its help, its type and a line for each set of labels. Equal labels have one line: of
 * counters with their sum, of gauges with the last value. In OpenMetrics the family of a counter has no `_total`, and
 * the text has an end.
 */
export function expositionOf (metrics: Iterable<Metric>, isOpenMetrics = false): string {
  const families = new Map<string, { readonly head: string, readonly samples: Map<string, number> }>()
  for (const { name, kind, help, value, labels } of metrics) {
    let family = families.get(name)
    if (family === undefined) {
      const title = isOpenMetrics && kind === 'counter' ? name.replace(/_total$/, '') : name
      family = { head: `# HELP ${title} ${escaped(help)}\n# TYPE ${title} ${kind}\n`, samples: new Map() }
      families.set(name, family)
    }
    const sample = name + labelsOf(labels)
    const before = kind === 'counter' ? family.samples.get(sample) ?? 0 : 0
    family.samples.set(sample, before + value)
  }
  const text = [...families.values()].map(({ head, samples }) => (
    head + [...samples].map(([sample, value]) => `${sample} ${numberOf(value)}\n`).join('')
  )).join('')
  return isOpenMetrics ? `${text}# EOF\n` : text
}

/** A help text and the value of a label end at a line feed, so it is escaped; so is the backslash itself. */
function escaped (text: string): string { return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n') }

function labelsOf (labels: Metric['labels'] = {}): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${labelName(name)}="${escaped(value).replaceAll('"', '\\"')}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** Letters, digits and underscores, and no digit first: other names would make the whole text unreadable. */
function labelName (name: string): string { return name.replace(/^\d/, '_$&').replaceAll(/\W/g, '_') }

function numberOf (value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  return Number.isFinite(value) ? String(value) : value > 0 ? '+Inf' : '-Inf'
}
