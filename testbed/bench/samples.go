package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Samples are the measurements of one thing, in the order taken.
type Samples []float64

// Quantile is the nearest-rank quantile, q from 0 to 1; 0 without samples.
func (s Samples) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(s))), len(s)-1)]
}

// Median is Quantile(0.5).
func (s Samples) Median() float64 { return s.Quantile(0.5) }

// figure is the quantile with what it was taken from.
func (s Samples) figure(name, unit string, q float64) Figure {
	f := Figure{Name: name, Unit: unit, Value: s.Quantile(q), N: len(s)}
	if len(s) > 0 {
		f.Low, f.High = slices.Min(s), slices.Max(s)
	}
	return f
}

// median is figure for the median.
func (s Samples) median(name, unit string) Figure { return s.figure(name, unit, 0.5) }

// over divides round by round: what disturbs one round disturbs both sides.
func (s Samples) over(other Samples) Samples {
	out := make(Samples, min(len(s), len(other)))
	for i := range out {
		out[i] = s[i] / other[i]
	}
	return out
}

// way is one side of a comparison: it does its work once and gives the rate or
// the time it came to.
type way func() (float64, error)

// turns takes rounds measurements of every way, one after the other in each
// round: A B C A B C. An uncounted round warms up.
func turns(ctx context.Context, rounds int, ways ...way) ([]Samples, error) {
	out := make([]Samples, len(ways))
	for round := range rounds + 1 {
		for i, w := range ways {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			v, err := w()
			if err != nil {
				return nil, fmt.Errorf("way %d, round %d: %w", i+1, round, err)
			}
			if round > 0 {
				out[i] = append(out[i], v)
			}
		}
	}
	return out, nil
}

// perSecond is the rate of n things that took d.
func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

func millis(d time.Duration) float64 { return float64(d) / 1e6 }
