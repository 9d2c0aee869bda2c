#!/usr/bin/env bash
# Asks a running service about each intent and holds every stream against the wire contract.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: e2e-intent-test.sh BASE_URL [--all|--quick] [--token TOKEN] [--digests FILE]

  --all            one message per intent and one with several, in English and Korean (default)
  --quick          one message in English and one in Korean
  --token TOKEN    bearer token for a service that asks for one; or SLUICE_TOKEN
  --digests FILE   writes a line "message<TAB>path<TAB>sha256" per answer, to compare two runs:
                   diff <(cut -f1,3 a1.tsv) <(cut -f1,3 a2.tsv)

exit status: 0 every message kept the contract, 1 one did not, 2 wrong usage or a missing program
TEXT
}

# intent/language | message; several intents are joined with a comma
MESSAGES='how_to/en|How do I resume a stream?
how_to/ko|스트림을 어떻게 이어받나요?
greeting/en|Hello!
greeting/ko|안녕하세요
reference/en|What is the default of SLUICE_RETENTION?
reference/ko|SLUICE_RETENTION의 기본값을 알려 주세요
troubleshooting/en|I see stages but no tokens
troubleshooting/ko|단계는 보이는데 토큰이 안 나와요
greeting,how_to,troubleshooting/en|Hello! How do I resume a stream? And I see no tokens.
greeting,how_to,troubleshooting/ko|안녕하세요! 스트림을 어떻게 이어받나요? 그리고 토큰이 안 나와요'
QUICK=2
CALL_LIMIT=30
STREAM_LIMIT=180

stop() {
  printf '%s\n' "$1" >&2
  exit "${2:-2}"
}

base='' token=${SLUICE_TOKEN:-} digests='' scope=all
while (($#)); do
  case $1 in
    --all | --quick) scope=${1#--} ;;
    --token | --digests)
      (($# > 1)) || stop "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    -*) stop "unknown option: $1
$(usage)" ;;
    *)
      [[ -z $base ]] || stop "one BASE_URL only: $1"
      base=${1%/}
      ;;
  esac
  shift
done
[[ -n $base ]] || stop "$(usage)"
for program in curl jq; do
  command -v "$program" >/dev/null || stop "this script needs $program, which is not on the PATH"
done
if command -v sha256sum >/dev/null; then SHA256=(sha256sum); else SHA256=(shasum -a 256); fi

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# In a file, so that the token shows in no list of processes.
: >"$work/curl.conf"
[[ -z $token ]] || printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/curl.conf"
[[ -z $digests ]] || : >"$digests"

# call METHOD PATH EXPECTED_STATUS [BODY]: leaves the answer in $work/body
call() {
  local method=$1 path=$2 expected=$3 status
  local options=(-sS -K "$work/curl.conf" -m "$CALL_LIMIT" -X "$method" -o "$work/body" -w '%{http_code}')
  (($# < 4)) || options+=(-H 'Content-Type: application/json' --data-binary "$4")
  status=$(curl "${options[@]}" "$base$path" 2>"$work/curl.err") || {
    violations+=("$method $path: $(<"$work/curl.err")")
    return 1
  }
  [[ $status == "$expected" ]] && return
  violations+=("$method $path answered $status instead of $expected: $(head -c 300 "$work/body")")
  return 1
}

# The whole stream in, one object out: what it said, and each promise it broke.
read -r -d '' CHECK <<'JQ' || true
def fail($text): .violations += [$text];
def check($holds; $text): if $holds then . else fail($text) end;
def terminal: . == "done" or . == "error" or . == "cancelled";
def number: split("-") | map(tonumber);

def frame:
  [capture("\\A(?:retry: [0-9]+\\n)?event: (?<event>[a-z_]+)\\n(?:id: (?<id>[1-9][0-9]*-[1-9][0-9]*)\\n)?data: (?<data>[^\\n]*)\\z")][0];

def ids($event; $id):
  if $event == "keepalive" then check($id == null; "a keepalive has an id")
  elif $id == null then fail("\($event) has no id")
  else ($id | number) as [$attempt, $seq] | .last as [$last_attempt, $last_seq]
    | check(
        if $attempt == $last_attempt then $seq == $last_seq + 1 or (($event == "token" or $event == "reasoning") and $seq > $last_seq)
        else $attempt > $last_attempt and $seq == 1 and ($last_attempt == 0 or $event == "reset") end;
        "id \($id) of \($event) does not follow \($last_attempt)-\($last_seq)")
    | .last = [$attempt, $seq]
  end;

def stage($data):
  ($data.stage) as $name
  | check(($data.progress | type) == "number" and $data.progress == ($data.progress | floor)
      and $data.progress >= .progress and $data.progress <= 100;
      "progress of \($name) is \($data.progress) after \(.progress)")
  | .progress = ($data.progress // .progress)
  | if $data.status == "started" then
      check(.open | index([$name]) | not; "\($name) started twice")
      | check(.spoken | index([$name]) | not; "\($name) started after it had spoken")
      | .open += [$name] | .started += [$name]
    elif $data.status == "completed" or $data.status == "failed" then
      check($name == "queued" or (.open | index([$name])); "\($name) \($data.status) before it started")
      | .open -= [$name]
      | check($data.status == "completed"; "\($name) failed")
    else fail("\($name) has the status \($data.status)") end
  | .ended += [$name];

def token($data):
  check(($data.content | type) == "string" and $data.content != ""; "a token without content")
  | .tokens += 1 | .text += ($data.content // "")
  | if (.started | index([$data.node])) then . else .spoken += [$data.node] end;

def event($event; $data):
  check(.final == null; "\($event) after the terminal event")
  | if $event == "stage" then stage($data)
    elif $event == "token" then token($data)
    elif $event == "reset" then
      .text = "" | if $data.reason == "revised" then . else .open = [] | .started = [] | .progress = 0 end
    elif ($event | terminal) then .final = (.final // ($data + {event: $event}))
    elif $event == "keepalive" or $event == "needs_input" or $event == "tool" or $event == "reasoning"
      or $event == "data" then .
    else fail("unknown event \($event)") end;

def finish($path):
  .final as $final
  | if $final == null then fail("no terminal event: the stream ended after \(.last | map(tostring) | join("-"))")
    elif $final.event != "done" then fail("ended with \($final.event) \($final.code // $final.reason): \($final.message // "")")
    else
      check(.open == []; "done while \(.open | join(", ")) still ran")
      | check($final.path == $path; "done says path \($final.path), the 202 said \($path)")
      | check($final.length == ($final.answer | length); "length \($final.length), the answer has \($final.answer | length)")
      | check($final.answer != ""; "the answer is empty")
      | if $path == "A2" then check(.tokens > 0; "A2 gave no token")
          | check(.text == $final.answer; "the tokens do not join to the answer")
        else check(.tokens == 0; "A1 gave \(.tokens) tokens") end
      | check(.ended[0] == "queued"; "the first stage is not queued")
      | if $final.intent == null then . else
          check(.started | index(["intent"]); "no intent stage")
          | check(.started | index(["answer"]); "no answer stage")
          | check((.started | index(["retrieve"]) != null) == ($final.intent != "greeting");
              "the stages for \($final.intent) were \(.started | join(", "))")
        end
      | if $final.offline_model == true then
          check(($final.intent // "" | split(",") | sort) == ($intent | split(",") | sort);
            "taken for \($final.intent)")
        else . end
    end;

. as $raw
| {violations: [], last: [0, 0], progress: 0, open: [], started: [], ended: [], spoken: [],
   tokens: 0, text: "", final: null}
| check($raw | contains("\r") | not; "a CR in the stream")
| check($raw | endswith("\n\n"); "the last frame is not complete")
| reduce ($raw | rtrimstr("\n\n") | split("\n\n") | to_entries[]) as {$key, $value} (.;
    if $key == 0 and ($value | test("\\Aretry: [0-9]+\\z")) then .
    else ($value | frame) as $frame
      | if $frame == null then fail("frame \($key + 1) is not event, id, data: \($value[:120] | tojson)")
        else ($frame.data | try fromjson catch null) as $data
          | ids($frame.event; if $frame.id == "" then null else $frame.id end)
          | if ($data | type) == "object" then event($frame.event; $data)
            else fail("the data of \($frame.event) is no JSON object") end
        end
    end)
| finish($path)
JQ

# examine LABEL MESSAGE: one message, from the 202 to the job's own record
examine() {
  local label=$1 intent=${1%/*} job path url status rc=0 sha
  call POST "/api/v1/chat/$chat/messages" 202 "$(jq -cn --arg message "$2" '{$message}')" || return 0
  IFS=$'\t' read -r job path url < <(jq -r '[.job_id, .path, .stream_url] | @tsv' "$work/body")
  if [[ $path != A[12] ]]; then
    violations+=("the 202 says path ${path:-nothing}")
    return 0
  fi
  status=$(curl -sSN -K "$work/curl.conf" -m "$STREAM_LIMIT" -H 'Accept: text/event-stream' \
    -o "$work/stream" -w '%{http_code} %{content_type}' "$base$url" 2>"$work/curl.err") || rc=$?
  if ((rc)); then violations+=("the stream was cut: $(<"$work/curl.err")"); fi
  if [[ $status != "200 text/event-stream"* ]]; then
    violations+=("$url answered $status")
    return 0
  fi
  jq -Rs --arg path "$path" --arg intent "$intent" "$CHECK" "$work/stream" >"$work/verdict" 2>"$work/jq.err" || {
    violations+=("the stream cannot be read: $(<"$work/jq.err")")
    return 0
  }
  mapfile -t -O "${#violations[@]}" violations < <(jq -r '.violations[]' "$work/verdict")
  [[ $(jq -r '.final.event' "$work/verdict") == "done" ]] || return 0

  sha=$(jq -j '.final.answer' "$work/verdict" | "${SHA256[@]}")
  sha=${sha%% *}
  if [[ $sha != "$(jq -r '.final.sha256' "$work/verdict")" ]]; then
    violations+=("sha256 differs from the answer's, $sha")
  fi
  [[ -z $digests ]] || printf '%s\t%s\t%s\n' "$label" "$path" "$sha" >>"$digests"
  seen=$(jq -r '"\(.final.path), \(.ended | unique | length) stages, \(.tokens) tokens, \(.final.length) characters"
    + if .final.offline_model == true then ", offline model" else "" end' "$work/verdict")
  call GET "/api/v1/jobs/$job" 200 || return 0
  if ! jq -e --slurpfile verdict "$work/verdict" \
    '.status == "completed" and .answer == $verdict[0].final.answer' "$work/body" >/dev/null; then
    violations+=("the job's record differs from its stream")
  fi
}

violations=()
call POST /api/v1/chat 201 '{"title":"e2e-intent-test"}' || stop "no chat: ${violations[*]}" 1
chat=$(jq -r '.id | @uri' "$work/body")

if [[ $scope == quick ]]; then MESSAGES=$(head -n "$QUICK" <<<"$MESSAGES"); fi
asked=0 broken=0
while IFS='|' read -r label message <&3; do
  violations=() seen=''
  examine "$label" "$message"
  asked=$((asked + 1))
  if ((${#violations[@]} == 0)); then
    printf 'ok    %-38s %s\n' "$label" "$seen"
    continue
  fi
  broken=$((broken + 1))
  printf 'FAIL  %s: %s\n' "$label" "$message"
  printf '        %s\n' "${violations[@]}"
done 3<<<"$MESSAGES"

printf '%d of %d messages kept the contract at %s\n' "$((asked - broken))" "$asked" "$base"
((broken == 0))
