package local_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Other users of the machine have no use of a helper: neither do requests that take no
// signature become the user's by theirs, nor do they reach what the user can.
func TestStrangers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root alone can be somebody else")
	}
	var s seen
	h := pair(t, func(_ http.ResponseWriter, r *http.Request) { s.add(r.Method, r.URL.Path) })
	// ask gives the status of the answer, 0 for none.
	ask := func(as int, request string) (status int) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // which ends with this goroutine
			if _, _, errno := syscall.RawSyscall(unix.SYS_SETFSUID, uintptr(as), 0, 0); errno != 0 {
				t.Error(errno)
			}
			c, err := net.Dial("tcp", h.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = fmt.Fprint(c, request)
			if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				status = resp.StatusCode
			}
		}()
		<-done
		return status
	}
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	const nobody = 65534
	for _, request := range []string{
		"GET http://bucket.s3.eu-central-1.amazonaws.com/key HTTP/1.1\r\nHost: bucket.s3.eu-central-1.amazonaws.com\r\n\r\n",
		fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", elsewhere.Addr()),
	} {
		if got := ask(0, request); got != http.StatusOK {
			t.Errorf("%.20q of its own user: %d", request, got)
		}
		s.take()
		if got := ask(nobody, request); got != 0 || len(s.take()) > 0 {
			t.Errorf("%.20q of another: %d", request, got)
		}
	}
}
