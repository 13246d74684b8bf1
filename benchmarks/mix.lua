-- The workloads for wrk; arguments: the workload, the number of tasks, and a file with one token a line.
local count, workload, tasks, tokens = 0, "mix", 1, {}

function init(args)
  workload, tasks = args[1], tonumber(args[2])
  for line in io.lines(args[3]) do tokens[#tokens + 1] = line end
  math.randomseed(os.time())
end

local bag = { "list", "list", "list", "list", "list", "list", "get", "get", "create", "toggle" }

function request()
  count = count + 1
  local kind = workload == "mix" and bag[math.random(#bag)] or workload
  local task = math.random(tasks)
  local headers = { ["Authorization"] = "Bearer " .. tokens[1 + (task - 1) % #tokens] }
  if kind == "list" then return wrk.format("GET", "/api/tasks?limit=50", headers) end
  if kind == "get" then return wrk.format("GET", "/api/tasks/" .. task, headers) end
  if kind == "toggle" then return wrk.format("PATCH", "/api/tasks/" .. task .. "/complete", headers) end
  headers["Content-Type"] = "application/json"
  return wrk.format("POST", "/api/tasks", headers, '{"title":"A new task","description":"As people write them"}')
end

function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format('\n{"requests":%d,"seconds":%.3f,"failed":%d,"p50":%.3f,"p99":%.3f}\n', summary.requests,
    summary.duration / 1e6, failed, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
