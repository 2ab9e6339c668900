package detect

import (
	"testing"

	"github.com/dpmip/dpmip/internal/guard"
)

func TestMain(m *testing.M) { guard.Main(m) }
