package local_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/posternhq/postern/proxy/local"
)

// Other users of the machine have no use of a helper: neither do requests that take no
// signature become the user's by theirs, nor do they reach what the user can.
func TestStrangers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root alone can be somebody else")
	}
	var s seen
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	plain := func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }
	for _, c := range []struct {
		listen string
		dial   func(addr string) (net.Conn, error)
	}{{"127.0.0.1:0", plain}, {"127.0.0.1:0", dialMapped}, {"[::1]:0", plain}} {
		if ln, err := net.Listen("tcp", c.listen); err != nil {
			t.Logf("not here: %v", err)
			continue
		} else {
			ln.Close()
		}
		h := pair(t, func(_ http.ResponseWriter, r *http.Request) { s.add(r.Method, r.URL.Path) }, func(cfg *local.Config) { cfg.Listen = c.listen })
		// ask gives the status of the answer, 0 for none.
		ask := func(as int, request string) (status int) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // which ends with this goroutine
				if _, _, errno := syscall.RawSyscall(unix.SYS_SETFSUID, uintptr(as), 0, 0); errno != 0 {
					t.Error(errno)
				}
				conn, err := c.dial(h.Addr())
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				_, _ = fmt.Fprint(conn, request)
				if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
					status = resp.StatusCode
				}
			}()
			<-done
			return status
		}
		const nobody = 65534
		for _, request := range []string{
			"GET http://bucket.s3.eu-central-1.amazonaws.com/key HTTP/1.1\r\nHost: bucket.s3.eu-central-1.amazonaws.com\r\n\r\n",
			fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", elsewhere.Addr()),
		} {
			if got := ask(0, request); got != http.StatusOK {
				t.Errorf("%s, %.20q of its own user: %d", h.Addr(), request, got)
			}
			s.take()
			if got := ask(nobody, request); got != 0 || len(s.take()) > 0 {
				t.Errorf("%s, %.20q of another: %d", h.Addr(), request, got)
			}
		}
	}
}

// dialMapped connects to an address of IPv4 by a socket of IPv6, as Java does.
func dialMapped(addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), addr)
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}
