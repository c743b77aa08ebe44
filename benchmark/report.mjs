// What a process of the benchmark says of itself.

/** Starts to count; the function that it gives reports what was spent since, and lets the process end. */
export function measure() {
  const cpu = process.cpuUsage()
  return (figures) => {
    const { user, system } = process.cpuUsage(cpu)
    const peakRss = process.resourceUsage().maxRSS * 1024
    process.send({ ...figures, cpuSeconds: (user + system) / 1e6, peakRss })
    process.disconnect()
  }
}
