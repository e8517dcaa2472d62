-- Posts forms with pictures, in turn, and says in one line of JSON how long the answers took.
-- Arguments: a directory with the bodies 1.form ... n.form, their number, their boundary.

local threads = {}
local requests = {}
local turn = 0
wrong = 0

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   local headers = { ["Content-Type"] = "multipart/form-data; boundary=" .. args[3] }
   for i = 1, tonumber(args[2]) do
      local file = assert(io.open(args[1] .. "/" .. i .. ".form", "rb"))
      requests[i] = wrk.format("POST", "/v1/predict", headers, file:read("*a"))
      file:close()
   end
end

function request()
   turn = turn % #requests + 1
   return requests[turn]
end

function response(status)
   if status ~= 200 then
      wrong = wrong + 1
   end
end

function done(summary, latency)
   local e = summary.errors
   local not_200 = 0
   for _, thread in ipairs(threads) do
      not_200 = not_200 + thread:get("wrong")
   end
   io.write(string.format(
      '{"duration_us": %d, "requests": %d, "p50_us": %d, "p95_us": %d, "p99_us": %d, ' ..
      '"not_200": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
      summary.duration, summary.requests, latency:percentile(50), latency:percentile(95),
      latency:percentile(99), not_200, e.connect, e.read, e.write, e.timeout))
end
