// Package restart makes Restart Counters (RFC 5847, option 28) that do not come
// back.
package restart
