package restart

import (
	"math"
	"time"
)

// epoch is when the seconds of Restart Counters begin.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Next is the Restart Counter of a start at now after that of the stored one.
// It never only counts: state that comes back from a backup would repeat a value
// that peers know already, and they would not notice the restart. The seconds
// since 2020 do not come back (they fit until 2156; a clock before 2020 counts
// for nothing).
func Next(stored uint32, now time.Time) uint32 {
	seconds := min(max(int64(now.Sub(epoch)/time.Second), 0), math.MaxUint32)
	return max(stored+1, uint32(seconds))
}
