package haltest

import "testing"

func TestChaosConforms(t *testing.T) {
	Run(t, func(t *testing.T) Rig { return NewChaosRig(Plan{}) })
}
