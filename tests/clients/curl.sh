# SPDX-License-Identifier: MIT
# What a library hides: status lines, headers, framing, bad bytes, clients that go away, two at once.
set -euo pipefail
base=$1 model=$2 server=$3
fail() { echo "curl: $*"; exit 1; }
status() { curl -s -o /dev/null -w '%{http_code}' -m 30 "$@"; }
is() { [ "$1" = "$2" ] || fail "expected $2, got $1: ${3:-}"; }

is "$(curl -s "$base/")" "Ollama is running"
is "$(status -I "$base/")" 200 "HEAD /"
is "$(status -I "$base/api/ps")" 405
is "$(status "$base/nowhere")" 404
is "$(status -X PUT "$base/api/chat")" 405
is "$(status -H 'Host: evil.example' "$base/")" 403
is "$(status -H 'Origin: http://evil.example' "$base/api/tags")" 403
is "$(curl -s "$base/nowhere")" "404 page not found"

# What a browser asks before it lets a page use the server.
is "$(status -X OPTIONS "$base/api/chat")" 204
is "$(status -X OPTIONS -H 'Origin: http://evil.example' "$base/api/chat")" 403
preflight="$(curl -si -X OPTIONS -H 'Origin: http://localhost:3000' "$base/api/chat" | tr -d '\r')"
says() { grep -qix "$1" <<<"$preflight" || fail "the preflight lacks $1: $preflight"; }
says 'HTTP/1.1 204 .*'
says 'access-control-allow-origin: http://localhost:3000'
says 'vary: origin'
says 'access-control-max-age: 43200'
says 'access-control-allow-methods: GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS'
for header in authorization content-type x-stainless-retry-count openai-beta anthropic-version x-api-key; do
  says "access-control-allow-headers:.*[ ,]$header\(,.*\)\?"
done
! grep -qi '^access-control-allow-credentials' <<<"$preflight" || fail "credentials are allowed"
curl -si -H 'Origin: http://localhost:3000' "$base/api/version" | grep -qi '^access-control-allow-origin: http://localhost:3000' || fail "CORS"

ask() { printf '{"model":"%s","messages":[{"role":"user","content":"hi"}],"options":{"num_predict":%s,"temperature":0}}' "$model" "$1"; }
headers="$(curl -sN -D - -o /dev/null "$base/api/chat" -d "$(ask 3)")"
grep -qi '^content-type: application/x-ndjson' <<<"$headers" || fail "no NDJSON: $headers"
grep -qi '^transfer-encoding: chunked' <<<"$headers" || fail "not chunked"
lines="$(curl -sN "$base/api/chat" -d "$(ask 3)")"
is "$(tail -1 <<<"$lines" | grep -c '"done":true,"done_reason":"length"')" 1 "the last line"
is "$(grep -c '"done":true' <<<"$lines")" 1 "lines that end it"
is "$(grep -cvE '^\{"model":"[^"]*","created_at":"[^"]*Z","message":\{"role":"assistant","content":.*"done":(true|false)[,}]' <<<"$lines")" 0 "lines of another form: $lines"
headers="$(curl -s -D - -o /dev/null "$base/api/chat" -d "$(ask 3 | sed 's/^{/{"stream":false,/')")"
grep -qi '^content-type: application/json; charset=utf-8' <<<"$headers" || fail "no JSON: $headers"
sse="$(curl -sN "$base/v1/chat/completions" -d "$(ask 3 | sed 's/^{/{"stream":true,/')")"
is "$(grep -cvE '^(data: .*)?$' <<<"$sse")" 0 "lines that are no event"
is "$(tail -1 <<<"$sse")" "data: [DONE]" "the last event"
# Keys in any case, names in any case, a body without a type, or compressed.
is "$(status "$base/api/show" -H 'Content-Type:' -d "{\"MODEL\":\"${model^^}\"}")" 200
is "$(printf '{"model":"%s"}' "$model" | gzip | status "$base/api/show" -H 'Content-Encoding: gzip' --data-binary @-)" 200

is "$(status "$base/api/chat" -d '{"model":')" 400
is "$(printf '{"model":"\xff"}' | status "$base/api/chat" --data-binary @-)" 400 "no UTF-8"
is "$(head -c 70000000 /dev/zero | status -H 'Expect:' "$base/api/chat" --data-binary @-)" 413 "a huge body"
is "$(status -H "X-Long: $(head -c 100000 /dev/zero | tr '\0' x)" "$base/")" 431 "huge headers"

# The same text alone and beside others.
alone="$(curl -s "$base/api/generate" -d "{\"model\":\"$model\",\"prompt\":\"a b c\",\"stream\":false,\"options\":{\"num_predict\":20,\"temperature\":0}}" | grep -o '"response":"[^"]*"')"
for i in 1 2 3 4 5 6 7 8; do
  curl -s "$base/api/generate" -d "{\"model\":\"$model\",\"prompt\":\"a b c\",\"stream\":false,\"options\":{\"num_predict\":20,\"temperature\":0}}" | grep -o '"response":"[^"]*"' >"$HOME/answer.$i" &
  pids[i]=$!
done
wait "${pids[@]}"
for i in 1 2 3 4 5 6 7 8; do is "$(cat "$HOME/answer.$i")" "$alone" "request $i of 8 at once"; done

# Clients that go away, or never read, do not keep their slots.
for _ in 1 2 3 4 5 6; do curl -sN -m 0.3 -o /dev/null "$base/api/chat" -d "$(ask 100000)" || true; done
for _ in $(seq 50); do
  busy="$(curl -s "$base/slots" | { grep -o '"is_processing":true' || true; } | wc -l)"
  [ "$busy" != 0 ] || break
  sleep 0.1
done
is "$busy" 0 "slots of clients that went away"

# Two deletes at once: one of them succeeds.
curl -s -o /dev/null "$base/api/copy" -d "{\"source\":\"$model\",\"destination\":\"twice\"}"
status -X DELETE "$base/api/delete" -d '{"model":"twice"}' >"$HOME/d1" & first=$!
status -X DELETE "$base/api/delete" -d '{"model":"twice"}' >"$HOME/d2" & second=$!
wait "$first" "$second"
is "$(sort "$HOME/d1" "$HOME/d2" <(echo) | tr -d '\n' | sed 's/200404/ok/')" ok "two deletes"
kill -0 "$server" || fail "the server is gone"
echo "curl: ok"
