// Package watchdog feeds /dev/watchdog: if the feeder stops, the card's hardware
// resets the card. PID 1 feeds it for itself alone; what the agent does has no
// part in it, for the card's traffic does not need the agent.
package watchdog
