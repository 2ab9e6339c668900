package restart

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		stored uint32
		now    time.Time
		want   uint32
	}{
		"first start":               {0, epoch.Add(1000*time.Second + time.Millisecond), 1000},
		"an hour later":             {1000, epoch.Add(4600 * time.Second), 4600},
		"again in the same second":  {1000, epoch.Add(1000 * time.Second), 1001},
		"a clock that is behind":    {4600, epoch.Add(1000 * time.Second), 4601},
		"a clock without a battery": {7, time.Unix(0, 0), 8},
		"the last second":           {7, epoch.Add((1<<32 + 9) * time.Second), 1<<32 - 1},
		"after the last":            {1<<32 - 1, epoch.Add(1000 * time.Second), 1000},
	} {
		if got := Next(tc.stored, tc.now); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
