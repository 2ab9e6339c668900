// Package killtest lets a test kill a writer with SIGKILL, at whatever
// instruction it happens to be, and learn what the writer had acknowledged.
package killtest
