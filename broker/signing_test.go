package broker

import (
	"testing"
	"time"
)

func TestRotationDue(t *testing.T) {
	made := time.Now()
	for age, want := range map[time.Duration]bool{
		0: false, 24 * time.Hour: false, keyRotation + time.Second: true,
		-2 * time.Second: true, -time.Hour: true, // the clock was set back
	} {
		if got := rotationDue(made, made.Add(age)); got != want {
			t.Errorf("of a key that is %s old: %v", age, got)
		}
	}
}
