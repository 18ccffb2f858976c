export default function Page() { return <p>mesh</p>; }
