// Package supervise keeps one program running: it starts it, starts it again
// with a growing delay when it ends, asks whether it is well, and ends and
// starts it again when it is not. It never gives up.
//
// Ending a program means SIGTERM, and SIGKILL when that is ignored. What a
// dpmip-agent has programmed stays in place either way.
package supervise
