/** The rules of the conf: how large files may be, of which types, for which purposes, and for how long. */
import type { Purpose, Share, Upload } from './uploads.js'
import { shareOf } from './uploads.js'

/** The settings of the module. Sizes are in bytes, times in milliseconds. */
export interface UploadSettings {
  readonly maxFileSize: number
  readonly types: readonly string[]
  readonly bytesPerAccount: number
  readonly bytesPerDay: number
  readonly filesPerDay: number
  readonly filesPerAccount: number
  readonly bytes: number
  readonly expire: number
  readonly profileFileSize: number
  readonly profileBytes: number
  readonly permanentBytes: number | undefined
  readonly slotTimeout: number
}

export class Rules {
  readonly settings: UploadSettings

  constructor (settings: UploadSettings) { this.settings = settings }

  /** The purposes that files may have. */
  get purposes (): readonly Purpose[] {
    const usual: readonly Purpose[] = ['message', 'profile', 'ephemeral']
    return this.settings.permanentBytes === undefined ? usual : [...usual, 'permanent']
  }

  /** Returns the most bytes that the files of an account may have, of those that count together. */
  quota (share: Share): number {
    const { bytesPerAccount, profileBytes, permanentBytes = 0 } = this.settings
    return { message: bytesPerAccount, profile: profileBytes, permanent: permanentBytes }[share]
  }

  /** Returns the size of the largest file for a purpose. */
  largest (purpose: Purpose): number {
    const { maxFileSize, profileFileSize, bytesPerDay } = this.settings
    return Math.min(purpose === 'profile' ? profileFileSize : maxFileSize, this.quota(shareOf(purpose)), bytesPerDay)
  }

  /** Returns when a file ends that has come now; undefined if never. */
  due ({ purpose, before = Infinity }: Pick<Upload, 'purpose' | 'before'>, now: number): number | undefined {
    return shareOf(purpose) === 'message' ? Math.min(now + this.settings.expire, before) : undefined
  }
}
