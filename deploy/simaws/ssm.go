package simaws

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// serveSSM reads parameters, and begins sessions on instances whose data channel gives
// back what it is sent.
// What session-manager-plugin and the agent say to one another in it is not simulated.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartSession.html
func (s *Sim) serveSSM(c *call) error {
	operation := c.jsonOperation("AmazonSSM", "StartSession", "TerminateSession", "GetParameter", "GetParameters", "GetParametersByPath")
	switch operation {
	case "":
		return s.serveUnknown(c)
	case "GetParameter", "GetParameters":
		return s.getParameters(c, operation)
	case "GetParametersByPath":
		return s.getParametersByPath(c)
	}
	var in struct{ Target, SessionId string }
	if err := c.takes(&in); err != nil {
		return err
	}
	if operation == "TerminateSession" {
		if err := c.authorize("ssm:TerminateSession", c.where("arn:{partition}:ssm:{region}:{account}:session/"+in.SessionId)); err != nil {
			return err
		}
		s.channels.Delete(in.SessionId)
		return c.json("1.1", map[string]string{"SessionId": in.SessionId})
	}
	c.event.request = map[string]string{"target": in.Target}
	if err := c.authorize("ssm:StartSession", c.where("arn:{partition}:ec2:{region}:{account}:instance/"+in.Target)); err != nil {
		return err
	}
	if !strings.HasPrefix(in.Target, "i-") {
		return failure(http.StatusBadRequest, "TargetNotConnected", in.Target+" is not connected.")
	}
	name := c.who.sessionName
	if name == "" {
		name = c.who.userName
	}
	id, token := name+"-"+randomFrom("0123456789abcdef", 17), uuid.NewString()
	s.channels.Store(id, token)
	return c.json("1.1", map[string]string{"SessionId": id, "TokenValue": token,
		"StreamUrl": "wss://ssmmessages." + c.ep.region + ".amazonaws.com/v1/data-channel/" + id + "?role=publish_subscribe"})
}

// serveDataChannel is the WebSocket of such a session. Its first frame brings the token,
// and nothing is signed.
func (s *Sim) serveDataChannel(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	var hello struct{ TokenValue string }
	_, first, err := conn.Read(r.Context())
	if err != nil {
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/v1/data-channel/")
	if token, ok := s.channels.Load(id); !ok || json.Unmarshal(first, &hello) != nil || hello.TokenValue != token {
		_ = conn.Close(websocket.StatusPolicyViolation, "the token is not this session's")
		return
	}
	for {
		kind, b, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}
