package serverdouble_test

import (
	"os"
	"testing"

	"adit.test/counterparts/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m)) }
