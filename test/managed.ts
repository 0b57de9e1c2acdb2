/** Devices with stream management (XEP-0198). */
import t, { type Test } from 'tap'
import type { Device } from './device.js'
import type { Scenario } from './scenario.js'
import { ENABLE, SM } from './stanzas.js'

/** Enables stream management, and returns the id for resumption. */
export async function enable (device: Device, how = ENABLE): Promise<string> {
  await device.says(how)
  return (await device.gets(`<enabled ${SM}/>`)).attrs['id'] as string
}

/** Binds a device, and enables stream management with resumption. */
export async function managed (s: Scenario, address: string): Promise<Device> {
  const device = await s.device(address)
  await enable(device)
  return device
}

/** Runs the test with a device without stream management and with one that has it. */
export function bothWays (title: string, play: (t: Test, isManaged: boolean) => Promise<void>): void {
  void t.test(title, async t => {
    for (const isManaged of [false, true]) {
      await t.test(isManaged ? 'with stream management' : 'without it', async t => { await play(t, isManaged) })
    }
  })
}
