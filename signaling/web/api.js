// The JSON API. Throws ApiError with the problem's code; status 0: the server was not reached.

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message || code);
    this.status = status;
    this.code = code;
  }
}

export async function call(path, { method = "GET", body, token, timeout = 5000 } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  let answer;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeout),
    });
    answer = await response.json();
  } catch (error) {
    throw new ApiError(response?.status ?? 0, "unreachable", error.message);
  }
  if (!response.ok) throw new ApiError(response.status, answer.code, answer.detail);
  return answer;
}
