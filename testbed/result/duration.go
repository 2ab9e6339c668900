package result

import (
	"slices"
	"strconv"
	"time"
)

// Millis is a duration that JSON shows as milliseconds, to the microsecond.
type Millis time.Duration

// Micros is a duration that JSON shows as microseconds, to the nanosecond.
type Micros time.Duration

// MarshalJSON gives the number of milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) { return number(time.Duration(m), time.Millisecond) }

// UnmarshalJSON takes a number of milliseconds.
func (m *Millis) UnmarshalJSON(b []byte) error {
	return parse((*time.Duration)(m), b, time.Millisecond)
}

func (m Millis) String() string { return time.Duration(m).Round(10 * time.Microsecond).String() }

// MarshalJSON gives the number of microseconds.
func (m Micros) MarshalJSON() ([]byte, error) { return number(time.Duration(m), time.Microsecond) }

// UnmarshalJSON takes a number of microseconds.
func (m *Micros) UnmarshalJSON(b []byte) error {
	return parse((*time.Duration)(m), b, time.Microsecond)
}

func (m Micros) String() string { return time.Duration(m).String() }

func number(d, unit time.Duration) ([]byte, error) {
	return strconv.AppendFloat(nil, float64(d.Round(unit/1000))/float64(unit), 'f', -1, 64), nil
}

func parse(d *time.Duration, b []byte, unit time.Duration) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err == nil {
		*d = time.Duration(f*float64(unit) + 0.5).Round(unit / 1000)
	}
	return err
}

// Quantile is the smallest value that at least the share q (0..1) of the
// values does not exceed (nearest rank); 0 for no values. values is not changed.
func Quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	rank := int(q * float64(len(v)))
	if float64(rank) < q*float64(len(v)) {
		rank++
	}
	return v[min(max(rank, 1), len(v))-1]
}
