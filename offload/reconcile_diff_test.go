package offload_test

import (
	"slices"
	"testing"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/offload"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	mine, newer, other := stamp(1, 5), stamp(1, 6), stamp(2, 9)
	claims := offload.Claims{mine.Owner: 5}
	tests := []struct {
		name    string
		desired []hwabstraction.Rule
		actual  []hwabstraction.Rule
		claims  offload.Claims
		want    []hwabstraction.Change
	}{
		{name: "nothing"},
		{
			name: "missing", desired: []hwabstraction.Rule{redirectOf(mine, 2), redirectOf(mine, 1)},
			want: []hwabstraction.Change{hwabstraction.Put(redirectOf(mine, 2)), hwabstraction.Put(redirectOf(mine, 1))},
		},
		{name: "equal", desired: []hwabstraction.Rule{redirectOf(mine, 1)}, actual: []hwabstraction.Rule{redirectOf(mine, 1)}},
		{
			name:    "added before deleted",
			desired: []hwabstraction.Rule{redirectOf(mine, 1)}, actual: []hwabstraction.Rule{deliverOf(mine, 1)},
			want: []hwabstraction.Change{
				hwabstraction.Put(redirectOf(mine, 1)), hwabstraction.Remove(deliverOf(mine, 1).ID(), mine),
			},
		},
		{name: "foreign stays", actual: []hwabstraction.Rule{redirectOf(other, 1)}},
		{name: "a newer epoch stays", actual: []hwabstraction.Rule{redirectOf(newer, 1)}},
		{
			name:    "a newer epoch is not put over",
			desired: []hwabstraction.Rule{redirectOf(mine, 1)}, actual: []hwabstraction.Rule{redirectOf(newer, 1)},
		},
		{
			name:    "an older epoch is",
			desired: []hwabstraction.Rule{redirectOf(mine, 1)}, actual: []hwabstraction.Rule{redirectOf(stamp(1, 4), 1)},
			want: []hwabstraction.Change{hwabstraction.Put(redirectOf(mine, 1))},
		},
		{
			name:    "an address passes from owner to owner",
			desired: []hwabstraction.Rule{redirectOf(mine, 1)}, actual: []hwabstraction.Rule{redirectOf(other, 1)},
			claims: offload.Claims{mine.Owner: 5, other.Owner: 9},
			want:   []hwabstraction.Change{hwabstraction.Remove(redirectOf(other, 1).ID(), other), hwabstraction.Put(redirectOf(mine, 1))},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			actual := offload.Actual{}
			for _, r := range tt.actual {
				actual[r.ID()] = r
			}
			if tt.claims == nil {
				tt.claims = claims
			}
			got := offload.Diff(tt.desired, actual, tt.claims)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v\nwant %v", got, tt.want)
			}
		})
	}
}
