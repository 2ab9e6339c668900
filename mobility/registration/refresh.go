package registration

import (
	"time"

	"github.com/dpmip/dpmip/mobility"
)

// RefreshAt is when a binding granted at the given time for lifetime l is to be
// refreshed: after two thirds of it, plus or minus a tenth of that, so always
// before it ends. The same seed gives the same moment; take one per VM and
// refresh, so that the refreshes of many VMs spread out.
func RefreshAt(granted time.Time, l mobility.Lifetime, seed uint64) time.Time {
	return granted.Add(spread(l.Duration()*2/3, unit(seed)))
}

// SpreadDelay is how long to wait before the i-th of n registrations that all
// became due at once (a management node that restarted, RegisterAgain): evenly
// over span, each somewhere in its own n-th of it, so that no two peers with
// other seeds march in step. It is in [0, span).
func SpreadDelay(seed uint64, i, n int, span time.Duration) time.Duration {
	if n <= 0 || i < 0 || i >= n || span <= 0 {
		return 0
	}
	return time.Duration((float64(i) + unit(seed+uint64(i))) / float64(n) * float64(span))
}

// ExpiresAt is when a binding last confirmed at the given time ends. After a
// restart of the management node every binding gets a full lifetime before it
// may expire; pass the time of the start, or the zero Time.
func ExpiresAt(confirmed time.Time, l mobility.Lifetime, started time.Time) time.Time {
	if started.After(confirmed) {
		confirmed = started
	}
	return confirmed.Add(l.Duration())
}

// spread gives d plus or minus 10 %, where u is in [0, 1).
func spread(d time.Duration, u float64) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*u))
}

// unit maps a seed to [0, 1) (the finaliser of SplitMix64).
func unit(seed uint64) float64 {
	z := seed + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return float64(z>>11) / (1 << 53)
}
