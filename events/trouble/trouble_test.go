package trouble_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posternhq/postern/events/trouble"
)

func TestSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said trouble.Said
		away, other := errors.New("away"), errors.New("other")
		news := func(err error, want bool) {
			t.Helper()
			if got := said.News(err); got != want {
				t.Errorf("%v is news: %t, want %t", err, got, want)
			}
		}
		over := func(want bool) {
			t.Helper()
			if got := said.Over(); got != want {
				t.Errorf("that it is over is news: %t, want %t", got, want)
			}
		}
		over(false)
		news(away, true)
		news(away, false)
		news(other, true)
		news(away, true)
		time.Sleep(trouble.Again - time.Second)
		news(away, false)
		time.Sleep(time.Second)
		news(away, true)
		news(away, false)
		over(true)
		over(false)
		news(away, true)
		news(errors.New("read 127.0.0.1:53910->127.0.0.1:9000: EOF"), true)
		news(errors.New("read 127.0.0.1:53912->127.0.0.1:9000: EOF"), false)
	})
}
