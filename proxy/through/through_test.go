package through

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// proxyServer answers one CONNECT with answer, and then echoes.
func proxyServer(t *testing.T, answer string) (u *url.URL, asked <-chan *http.Request) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	requests := make(chan *http.Request, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			t.Error(err)
			return
		}
		requests <- r
		fmt.Fprint(c, answer)
		io.Copy(c, br)
	}()
	return &url.URL{Scheme: "http", User: url.UserPassword("u", "p"), Host: ln.Addr().String()}, requests
}

func TestConnectThroughProxy(t *testing.T) {
	const host = "ssmmessages.us-east-1.amazonaws.com:443"
	u, asked := proxyServer(t, "HTTP/1.1 200 OK\r\n\r\n")
	c, err := Dial(t.Context(), &net.Dialer{}, u, host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r := <-asked; r.Method != "CONNECT" || r.RequestURI != host || r.Header.Get("Proxy-Authorization") != "Basic dTpw" {
		t.Errorf("%s %s %v", r.Method, r.RequestURI, r.Header)
	}
	io.WriteString(c, "echo")
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "echo" {
		t.Errorf("%q %v", b, err)
	}
	for answer, want := range map[string]string{
		"HTTP/1.1 407 Who are you\r\n\r\n": "407 Who are you",
		"HTTP/1.1 200 OK\r\n\r\nbefore":    "sends before",
		"what\r\n":                         "malformed",
	} {
		u, _ := proxyServer(t, answer)
		c, err := Dial(t.Context(), &net.Dialer{}, u, host)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "dTpw") {
			t.Errorf("%q: error %v", answer, err)
		}
	}
	if _, err := Dial(t.Context(), &net.Dialer{}, &url.URL{Scheme: "socks5", Host: "127.0.0.1:1"}, host); err == nil || !strings.Contains(err.Error(), `"socks5"`) {
		t.Errorf("socks5: %v", err)
	}
}
