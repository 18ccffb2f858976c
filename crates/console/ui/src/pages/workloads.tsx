export default function Page() { return <p>workloads</p>; }
